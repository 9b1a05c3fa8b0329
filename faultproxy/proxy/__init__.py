"""One proxy: what it accepts, what its rules decide, and the clock that their windows run on."""
