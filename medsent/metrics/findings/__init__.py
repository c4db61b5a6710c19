"""What named rules say of the numbers; each decides by a test or a bound that is written down."""
