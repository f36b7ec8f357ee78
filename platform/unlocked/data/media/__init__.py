"""Images and sounds from files, and the labels that folders and tables give them."""
