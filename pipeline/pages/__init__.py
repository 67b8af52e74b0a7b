"""What the HTML pages share: the frame, the colours and the look of the basic elements."""
