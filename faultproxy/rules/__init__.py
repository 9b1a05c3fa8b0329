"""Which connection gets which faults. No I/O, no clock, no global random: all of it is handed in."""
