"""What a detector finds out by itself: losses and steps as they go by, and experiments on held batches."""
