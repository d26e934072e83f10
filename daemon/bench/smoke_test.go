package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestSmoke runs the command itself with small data, so that it does not rot: cp and
// lockstep, most workloads. Nothing is timed.
func TestSmoke(t *testing.T) {
	if os.Getenv("LOCKSTEP_LONG") == "" {
		t.Skip("SKIPPED: a long test; set LOCKSTEP_LONG=1 to run it")
	}
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: the comparison is made on Linux")
	}
	dir := t.TempDir()
	lines := filepath.Join(dir, "figures.jsonl")
	cmd := exec.Command("go", "run", ".", "-runs", "1", "-scale", "0.002", "-tools", "cp,lockstep", "-dir", dir, "-json", lines, "-image", "2",
		"-workloads", "W1,W3,W4,W5,W7,W9,W10")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(lines)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		var f figure
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if f.Note != "" {
			t.Errorf("%s %s: %s", f.Workload, f.Tool, f.Note)
		}
		have[f.Workload+" "+f.Tool] = true
	}
	for _, want := range []string{"W1 cp", "W1 lockstep", "W3 lockstep", "W4 lockstep", "W5 lockstep",
		"W7 lockstep", "W9 lockstep", "W10 lockstep"} {
		if !have[want] {
			t.Errorf("no figure for %s in\n%s", want, out)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "lockstep-bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
