"""What training costs: floating-point operations, memory, communication, time."""
