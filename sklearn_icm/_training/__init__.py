"""The private engine room: net, progress, device, seeds, state, schedules."""
