"""Run Ansible as a program and understand what it does while it runs."""
