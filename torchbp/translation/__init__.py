"""Other libraries' modules as circuits with their own parameters, one file a library."""
