"""What the entry scripts share: arguments, and what is printed."""
