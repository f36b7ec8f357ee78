"""What is measured here: speed, overhead, costs."""
