//! Calls of the users' services, without a network.
