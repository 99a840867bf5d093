"""What runs on every node: the guard and the agent."""
