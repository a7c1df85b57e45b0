"""What is known of other libraries' quantum modules as they are, without importing the libraries: one file each."""
