"""What `guardian demo` shows: an overload with the kernel alone, and the same with guardian."""
