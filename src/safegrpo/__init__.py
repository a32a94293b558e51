"""SafeGRPO."""
