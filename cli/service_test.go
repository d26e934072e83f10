package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnits: systemd finds nothing to complain of, where it is there to be asked; what
// can be told without it is checked everywhere.
func TestUnits(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Logf("systemd-analyze is not here: the units are checked for their form only")
	}
	for _, kind := range []string{"--user", "--system"} {
		w := newWorld(t)
		w.env["LOCKSTEP_HOME"] = filepath.Join(t.TempDir(), `a "home" of 100% $SHELL`)
		text := w.run(t, 0, "service", "print", kind)
		checkUnit(t, text)
		if !strings.Contains(text, `a \"home\" of 100%% $$SHELL" daemon`) {
			t.Errorf("%s: the home is not quoted: %s", kind, text)
		}
		if analyze == "" {
			continue
		}
		path := filepath.Join(t.TempDir(), "lockstep.service")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(analyze, "verify", "--man=no", kind, path)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "lockstep.service") {
			t.Errorf("systemd-analyze verify %s: %v\n%s", kind, err, out)
		}
	}
}

// unitKeys are those that a unit of ours may have, by section: a misspelt one is
// ignored by systemd.
var unitKeys = map[string]string{
	"Unit": "Description Documentation Wants After",
	"Service": "Type ExecStart User Restart RestartSec TimeoutStartSec TimeoutStopSec WatchdogSec LimitNOFILE NoNewPrivileges LockPersonality " +
		"MemoryDenyWriteExecute RestrictRealtime RestrictNamespaces RestrictAddressFamilies SystemCallArchitectures",
	"Install": "WantedBy",
}

func checkUnit(t *testing.T, text string) {
	t.Helper()
	section := ""
	seen := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		key, value, isKey := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		case !isKey || value == "" || !strings.Contains(" "+unitKeys[section]+" ", " "+key+" "):
			t.Errorf("[%s] %s", section, line)
		default:
			seen[key] = value
		}
	}
	if seen["Type"] != "notify" || seen["WatchdogSec"] == "" || !strings.HasSuffix(seen["ExecStart"], " daemon") {
		t.Errorf("the unit has %v", seen)
	}
}

// TestManPages: every command has a page, and no section of one is empty.
func TestManPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	w.run(t, 0, "man", dir)
	a := &app{Deps: w.Deps}
	root := newRootCommand(a)
	root.InitDefaultCompletionCmd()
	want := documented(root)
	files, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(files) != len(want) || len(want) < 20 {
		t.Errorf("%d pages for %d commands, %v", len(files), len(want), err)
	}
	for _, cmd := range want {
		path := filepath.Join(dir, pageName(cmd)+".1")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := emptySection(string(text)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if cmd.Short == "" {
			t.Errorf("%s says nothing of itself", cmd.CommandPath())
		}
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Logf("groff is not here: the pages are not read by it")
		return
	}
	out, err := exec.Command(groff, append([]string{"-man", "-Tutf8", "-ww", "-z"}, files...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}

func emptySection(text string) error {
	var section string
	full := true
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, ".SH "); ok {
			if !full {
				return fmt.Errorf("section %s is empty", strings.TrimSpace(section))
			}
			section, full = name, false
			continue
		}
		full = full || strings.TrimSpace(line) != ""
	}
	if !full {
		return fmt.Errorf("section %s is empty", strings.TrimSpace(section))
	}
	return nil
}

func TestRoff(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain": "plain", "--json": `\-\-json`, `a\b`: `a\eb`, ".lockstep": `\&.lockstep`, "'tis": `\&'tis`, "": "",
	} {
		if got := escapeRoff(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	if err := emptySection(".SH \"A\"\n.SH \"B\"\nx\n"); err == nil {
		t.Error("an empty section was not found")
	}
}
