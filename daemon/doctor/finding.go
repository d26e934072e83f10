package doctor

import (
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func ok(format string, args ...any) control.Finding {
	return control.Finding{Level: control.LevelOK, Message: fmt.Sprintf(format, args...)}
}

func note(format string, args ...any) control.Finding {
	return control.Finding{Level: control.LevelNote, Message: fmt.Sprintf(format, args...)}
}

func problem(format string, args ...any) control.Finding {
	return control.Finding{Level: control.LevelProblem, Message: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) control.Finding {
	return control.Finding{Level: control.LevelSkipped, Message: fmt.Sprintf(format, args...)}
}

// fixed returns f with what to do.
func fixed(f control.Finding, format string, args ...any) control.Finding {
	f.Fix = fmt.Sprintf(format, args...)
	return f
}

// withCommand returns f with the command for what its Fix says.
func withCommand(f control.Finding, format string, args ...any) control.Finding {
	f.Command = fmt.Sprintf(format, args...)
	return f
}

// about returns f with its subject.
func about(subject string, f control.Finding) control.Finding {
	f.Subject = subject
	return f
}

func size(n uint64) string { return humanize.IBytes(n) }

func count(n int) string { return humanize.Comma(int64(n)) }

// one is fs, or f where that is empty.
func one(found []control.Finding, f control.Finding) []control.Finding {
	if len(found) > 0 {
		return found
	}
	return []control.Finding{f}
}
