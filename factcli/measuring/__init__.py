"""What models cost: latency, FLOPs, memory and size, as ratios to a baseline measured in alternation."""
