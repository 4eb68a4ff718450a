"""What the command line adds to the library: where results are written, and what is printed."""
