"""What XLA makes of a function, beside the function operation by operation, and XLA's known faults."""
