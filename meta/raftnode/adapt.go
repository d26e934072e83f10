package raftnode

// Machine is the metadata state machine.
type Machine any

func adapt(Machine) machine { return nil }
