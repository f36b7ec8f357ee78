"""What trained networks make: sequences, images, samples."""
