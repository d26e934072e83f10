package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func TestDoctor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rep := control.DoctorReport{Running: true, Findings: []control.Finding{
		{Check: "files", Level: control.LevelOK, Message: "fine"},
		{Check: "clock", Level: control.LevelSkipped, Message: "nobody there"},
		{Check: "disk", Level: control.LevelNote, Subject: "docs", Message: strings.Repeat("word ", 40), Fix: "free\nsome"},
	}}
	w.fake.OnDoctor = func(control.DoctorRequest) (control.DoctorReport, error) { return rep, nil }
	out := w.run(t, 0, "doctor")
	if !strings.Contains(out, "ok       files: fine\n") || strings.Contains(out, "clock") || !strings.Contains(out, "\n         -> free; some\n") {
		t.Errorf("got %s", out)
	}
	for line := range strings.Lines(out) {
		if len(line) > 81 {
			t.Errorf("a line of %d characters: %s", len(line)-1, line)
		}
	}
	if out := w.run(t, 0, "doctor", "--all"); !strings.Contains(out, "skipped  clock: nobody there\n") {
		t.Errorf("got %s", out)
	}
	long := "echo " + strings.Repeat("x", 100)
	rep.Findings = append(rep.Findings, control.Finding{Check: "inotify", Level: control.LevelProblem, Message: "too few", Fix: "raise it", Command: long})
	if out := w.run(t, 5, "doctor"); !strings.Contains(out, "\n            "+long+"\n") {
		t.Errorf("a command is not in one piece: %s", out)
	}
	if got := w.err.String(); got != "lockstep: doctor: 1 problem\n" {
		t.Errorf("stderr %q", got)
	}
	var got control.DoctorReport
	if err := json.Unmarshal([]byte(w.run(t, 5, "doctor", "--json")), &got); err != nil || len(got.Findings) != 4 || got.Findings[3].Command != long {
		t.Errorf("%+v, %v", got, err)
	}
	w.fake.OnDoctor = func(control.DoctorRequest) (control.DoctorReport, error) {
		return control.DoctorReport{}, control.Errorf(control.CodeTimeout, "slow")
	}
	w.run(t, 4, "doctor")
	w.fake.OnDoctor = func(control.DoctorRequest) (control.DoctorReport, error) {
		return control.DoctorReport{}, control.Errorf(control.CodeNotRunning, "not running")
	}
	if out := w.run(t, 5, "doctor"); !strings.Contains(out, "there is no node in") {
		t.Errorf("got %s", out)
	}
}
