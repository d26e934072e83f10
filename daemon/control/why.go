package control

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// WhyRequest asks what a path waits for.
type WhyRequest struct {
	Target Target `json:"target"`
}

// WhyPath is where one path stands between this disk and the history.
type WhyPath struct {
	Path    string `json:"path"`
	PathB64 string `json:"path_b64,omitempty"`
	// Step is one of in-sync, unknown, open, ignored, settling, hashing, queued, missing, receiving,
	// staging, blocked.
	Step   string     `json:"step"`
	Reason string     `json:"reason,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
	// Kind, Revision and Node are of the newest version in history: "" and 0 where
	// there is none, kind "absent" where it was deleted.
	Kind     string `json:"kind,omitempty"`
	Revision uint64 `json:"revision"`
	Node     string `json:"node,omitempty"`
	// Holders are the members that have it, for the step missing.
	Holders []WhyHolder `json:"holders,omitempty"`
	// DoneBytes of SizeBytes are done, at Rate bytes a second (0: not known), for the
	// steps hashing, receiving and staging; SizeBytes is 0 where that is not known, as
	// before a file's turn has come.
	DoneBytes int64 `json:"done_bytes,omitempty"`
	SizeBytes int64 `json:"size_bytes,omitempty"`
	Rate      int64 `json:"rate,omitempty"`
	// Sources are the members from which something of the folder came in the last
	// seconds, for the step receiving.
	Sources []string `json:"sources,omitempty"`
}

// WhyHolder is a member that has what is missing here.
type WhyHolder struct {
	Name     string     `json:"name"`
	Online   bool       `json:"online"`
	LastSeen *time.Time `json:"last_seen,omitempty"`
}

// WhyResult says what a path waits for.
type WhyResult struct {
	Folder string `json:"folder"`
	// State and Summary are the folder's.
	State   FolderState `json:"state"`
	Summary string      `json:"summary"`
	WhyPath
	// Waiting counts the paths below it that are not in sync; Below has the first.
	Waiting int       `json:"waiting"`
	Below   []WhyPath `json:"below"`
	// Steps are the times of its last way, oldest first.
	Steps []Step `json:"steps"`
}

// Why implements Service.
func (c *Client) Why(ctx context.Context, r WhyRequest) (v WhyResult, err error) {
	return v, c.call(ctx, "POST", "/v1/why", r, &v, c.Timeout)
}

func (s *Server) why(ctx context.Context, r WhyRequest) (WhyResult, error) {
	v, err := s.svc.Why(ctx, r)
	v.Below, v.Steps = nonNil(v.Below), nonNil(v.Steps)
	return v, err
}

// Sentence says in words what a path waits for, on whom, and since when.
func (w WhyPath) Sentence(now time.Time) string {
	version := fmt.Sprintf("revision %d by %s", w.Revision, w.Node)
	out := ""
	switch w.Step {
	case "in-sync":
		if w.Kind == "" {
			return "in sync"
		}
		if w.Kind == "absent" {
			return "deleted in " + version
		}
		return version + " is on this disk"
	case "unknown":
		if w.Kind == "absent" {
			return "deleted in " + version
		}
		return "neither on this disk nor in the folder's history"
	case "open":
		out = "a program has it open for writing: it is taken once it is closed, or after a minute without a change (2 s where history knows it)"
	case "settling":
		out = "changed here: it is taken once nobody writes to it"
	case "hashing":
		out = "changed here, and being read" + w.far(": ")
		if w.SizeBytes == 0 {
			out = "changed here, read, and about to be committed"
		}
	case "queued":
		out = "its change is stored here and waits to be committed"
	case "missing":
		out = "waits for content that nobody online has"
		if len(w.Holders) > 0 {
			out = "waits for content that is on " + holders(w.Holders, now)
		}
	case "receiving":
		out = w.receiving(version)
	case "staging":
		out = version + " is being written to this disk" + w.far(": ")
		if w.DoneBytes == w.SizeBytes {
			out = version + " is complete on this disk, and about to be moved into its place"
		}
	case "blocked":
		out = "blocked"
	default:
		out = w.Step
	}
	if w.Reason != "" {
		out += ": " + w.Reason
	}
	if w.Since != nil {
		out += " (for " + span(now.Sub(*w.Since)) + ")"
	}
	return out
}

// receiving says what is brought to this disk, how far that is, and from whom.
func (w WhyPath) receiving(version string) string {
	switch {
	case w.Kind == "absent":
		return "its deletion in " + version + " is being carried out here"
	case w.SizeBytes == 0 && len(w.Sources) == 0:
		return version + " is being brought to this disk"
	}
	out := version + " is being received"
	if len(w.Sources) > 0 {
		out += " from " + shorten(w.Sources, " and ")
	}
	return out + w.far(": ")
}

// far is how much is done, how fast and how much longer it takes, where that is known.
func (w WhyPath) far(before string) string {
	if w.SizeBytes == 0 {
		return ""
	}
	out := fmt.Sprintf("%s%s of %s", before, humanize.IBytes(uint64(w.DoneBytes)), humanize.IBytes(uint64(w.SizeBytes)))
	if w.Rate > 0 {
		left := time.Duration((w.SizeBytes-w.DoneBytes)/w.Rate) * time.Second
		out += fmt.Sprintf(", %s/s, about %s left", humanize.IBytes(uint64(w.Rate)), span(left))
	}
	return out
}

func holders(list []WhyHolder, now time.Time) string {
	var out []string
	for _, h := range list {
		switch {
		case h.Online:
			out = append(out, h.Name+" (online)")
		case h.LastSeen != nil:
			out = append(out, h.Name+" (last seen "+span(now.Sub(*h.LastSeen))+" ago)")
		default:
			out = append(out, h.Name+" (not seen since the start)")
		}
	}
	return strings.Join(out, ", ")
}
