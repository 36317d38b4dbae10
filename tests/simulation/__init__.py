"""The real client against a simulated vendor, in virtual time: one world for each seed."""
