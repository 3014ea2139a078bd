"""What is given of rows: known values beside missing ones, and conditions."""
