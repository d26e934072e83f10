package folder

// Mode is which way changes go between this disk and the history.
type Mode string

// The modes.
const (
	ModeBoth    Mode = "both"
	ModeSend    Mode = "send"    // nothing is brought to this disk
	ModeReceive Mode = "receive" // nothing of this disk is proposed
)
