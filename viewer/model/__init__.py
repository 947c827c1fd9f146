"""What the window shows and what can be done: state, session, jobs. No widgets here."""
