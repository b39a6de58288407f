"""What runs in the process that holds a run."""
