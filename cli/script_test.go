package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"lockstep": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			defer stop()
			os.Exit(Main(ctx, System(), os.Args[1:]))
		},
	})
}

// TestScripts runs the real commands, as their own processes, where no daemon is
// needed, and in others with one or with two. The scripts know three commands more:
// `exits CODE COMMAND…`; `eventually [-stdout REGEXP] COMMAND…`, which repeats it until it
// succeeds, and prints what is wanted; and `capture NAME REGEXP`, which sets a variable to
// what the first group matches in the last stdout.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("LOCKSTEP_HOME", e.WorkDir+"/home")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "eventually": eventually, "capture": capture},
	})
}

func eventually(ts *testscript.TestScript, neg bool, args []string) {
	wanted := regexp.MustCompile("")
	if len(args) > 2 && args[0] == "-stdout" {
		wanted, args = regexp.MustCompile("(?m)"+args[1]), args[2:]
	}
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventually [-stdout REGEXP] COMMAND...")
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil && wanted.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%q: %v, and stdout matches %q: %v", args, err, wanted, wanted.MatchString(ts.ReadFile("stdout")))
		}
	}
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("capture: no match, or not one group, of %q in stdout", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// TestEveryCommandIsInAScript: a new command needs lines in testdata.
func TestEveryCommandIsInAScript(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/every_command.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			if c.Hidden && c.Name() != "man" || c.Name() == "help" {
				continue
			}
			if !strings.Contains(string(text), "exits 0 "+c.CommandPath()+" --help\n") {
				t.Errorf("`%s` is in no script", c.CommandPath())
			}
			walk(c)
		}
	}
	walk(newRootCommand(&app{Deps: newWorld(t).Deps}))
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("exits: %v", err)
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		ee, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("exits: %v", err)
		}
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("%q: exit code %d, want %d", args[1:], got, want)
	}
}
