"""What a schedule would cost on workers that are not here, from measured costs."""
