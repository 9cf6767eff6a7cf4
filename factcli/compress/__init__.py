"""What a matrix becomes, how an error in it is counted, who gets how much: plans, and models after them."""
