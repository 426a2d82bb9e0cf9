"""What `guardian init` proposes: phases and budgets for services that it is shown, each with its reason. Pure, save `sampling`."""
