"""Looks at all that guardian needs of its host, and says what is wrong and what to do: `guardian doctor`."""
