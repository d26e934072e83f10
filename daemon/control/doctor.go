package control

import "context"

// DoctorRequest asks for a check of the machine and of the way to the other nodes.
type DoctorRequest struct{}

// Level says how a finding of the doctor's is meant.
type Level string

// The levels. Only a problem makes `lockstep doctor` exit 5.
const (
	LevelOK      Level = "ok"
	LevelNote    Level = "note"    // worth knowing; nothing is broken
	LevelProblem Level = "problem" // something does not work, or soon will not
	LevelSkipped Level = "skipped" // not checked, and why
)

// Finding is what one check found about one thing.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	// Subject is what it is about, where that is one of several: a folder, a node.
	Subject string `json:"subject,omitempty"`
	Message string `json:"message"`
	// Fix is what to do about it; Command the command for it, as a shell takes it.
	Fix     string `json:"fix,omitempty"`
	Command string `json:"command,omitempty"`
}

// DoctorReport is what the checks found.
type DoctorReport struct {
	// Running says whether the daemon took part: without it less can be checked.
	Running  bool      `json:"running"`
	Findings []Finding `json:"findings"`
}

// Problems counts the findings that are problems.
func (r DoctorReport) Problems() int {
	n := 0
	for _, f := range r.Findings {
		if f.Level == LevelProblem {
			n++
		}
	}
	return n
}

// Doctor implements Service.
func (c *Client) Doctor(ctx context.Context, r DoctorRequest) (v DoctorReport, err error) {
	return v, c.call(ctx, "POST", "/v1/doctor", r, &v, c.Timeout)
}

func (s *Server) doctor(ctx context.Context, r DoctorRequest) (DoctorReport, error) {
	v, err := s.svc.Doctor(ctx, r)
	v.Findings = nonNil(v.Findings)
	return v, err
}
