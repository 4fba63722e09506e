"""What is trained: each method is one file."""
