"""How training runs on the devices there are: precision, processes, micro-batches, schedules, guards."""
