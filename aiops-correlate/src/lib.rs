//! Turns thousands of alerts into few incidents, and explains every alert it hid
