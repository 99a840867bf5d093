"""What an operator asks for, in terms of ports: bootstrap, status, switchover, demo, drill."""
