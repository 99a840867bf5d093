"""Hosts to try pgha on: each with its own systemd, sshd, cron, sudo, disk and network, all on one Linux machine.

By hand, as root: `python -m tests.hosts up`, then `... ssh n1`, `... power-off n1`, `... down`.
"""
