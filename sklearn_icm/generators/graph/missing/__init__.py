"""What is missing in rows, given the rest of them."""
