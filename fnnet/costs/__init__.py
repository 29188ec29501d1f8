"""What a network costs: the summary, memory traffic, a training step, and a forecast for devices that are not there."""
