package docs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lockstep-sync/lockstep/cli"
)

// patience is how long a background command may take to show what it shows.
const patience = time.Minute

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lockstep": func() {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		os.Exit(cli.Main(ctx, cli.System(), os.Args[1:]))
	}})
}

// TestPages runs the console blocks of each page as one script a page.
func TestPages(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("SKIPPED: no sh")
	}
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	dir, all, scripts := t.TempDir(), map[string][]step{}, 0
	for _, page := range append(pages, "../README.md") {
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		steps := readPage(t, page)
		var script strings.Builder
		for i, s := range steps {
			fmt.Fprintf(&script, "# %s:%d: %s$ %s\nstep %s %d\n", page, s.line, s.machine, s.command, name, i)
		}
		if all[name] = steps; len(steps) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name+".txtar"), []byte(script.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		scripts++
	}
	if scripts == 0 {
		t.Skip("no page shows commands")
	}
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			m := &machines{work: e.WorkDir, path: e.Getenv("PATH")}
			e.Values["machines"] = m
			e.Defer(m.stop)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"step": func(ts *testscript.TestScript, _ bool, args []string) {
				i, err := strconv.Atoi(args[1])
				ts.Check(err)
				_, err = ts.Value("machines").(*machines).do(all[args[0]][i])
				ts.Check(err)
			},
		},
	})
}

// machines are the machines of one page.
type machines struct {
	work, path string
	terminal   bool   // commands run at a terminal of 80 columns
	token      string // printed last
	running    []*background
}

// background is a command that goes on.
type background struct {
	step step
	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	out []byte
}

func (b *background) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out = append(b.out, p...)
	return len(p), nil
}

func (b *background) output() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]byte(nil), b.out...)
}

var (
	token = regexp.MustCompile(`\blockstep1-[A-Za-z0-9_-]+`)
	// makesNode are the commands that take the host's name.
	makesNode = regexp.MustCompile(`\blockstep (up|init|join)\b`)
	listen    = regexp.MustCompile(` --listen \S+`)
)

// command returns the shell command of a step on its machine.
func (m *machines) command(s step) (*exec.Cmd, error) {
	home := filepath.Join(m.work, s.machine)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	line := s.command
	if strings.Contains(line, "TOKEN") {
		if m.token == "" {
			return nil, errors.New("no token was printed yet")
		}
		line = strings.ReplaceAll(line, "TOKEN", m.token)
	}
	line = makesNode.ReplaceAllStringFunc(listen.ReplaceAllString(line, ""), func(c string) string {
		name := "--name"
		if strings.HasSuffix(c, "up") {
			name = "--node-name"
		}
		return fmt.Sprintf("%s %s %s", c, name, s.machine)
	})
	if s.background {
		line = "exec " + line
	}
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + m.path, "TMPDIR=" + os.TempDir(), "LC_ALL=C.UTF-8", "TZ=UTC"}
	return cmd, nil
}

// do runs one step, compares what it prints with what is wanted, and returns it.
func (m *machines) do(s step) ([]string, error) {
	cmd, err := m.command(s)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", s.line, err)
	}
	if s.background {
		return m.start(s, cmd)
	}
	out, err := m.output(cmd)
	exit := 0
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		exit = ee.ExitCode()
	} else if err != nil {
		return nil, err
	}
	m.note(out)
	got := outputLines(out)
	if exit != s.exit || !m.terminal && !matches(s.want, got) {
		return got, fmt.Errorf("line %d: %s$ %s\nexit code %d, want %d\ngot:\n%s\nthe page says:\n%s\n%s", s.line, s.machine, s.command,
			exit, s.exit, strings.Join(got, "\n"), strings.Join(s.want, "\n"), m.logs())
	}
	return got, nil
}

// output runs cmd and returns all that it prints.
func (m *machines) output(cmd *exec.Cmd) ([]byte, error) {
	if m.terminal {
		return terminalOutput(cmd)
	}
	return cmd.CombinedOutput()
}

// start starts a background command and waits for what the page shows of it.
func (m *machines) start(s step, cmd *exec.Cmd) ([]string, error) {
	b := &background{step: s, cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = b, b
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait() // what it printed says why it ended
		close(b.done)
	}()
	m.running = append(m.running, b)
	deadline := time.Now().Add(patience)
	for over := false; ; {
		got := outputLines(b.output())
		if contains(s.want, got) {
			m.note(b.output())
			return got, nil
		}
		if over || time.Now().After(deadline) {
			return got, fmt.Errorf("line %d: %s$ %s & (ended: %v)\ngot:\n%s\nthe page says:\n%s", s.line, s.machine, s.command,
				over, strings.Join(got, "\n"), strings.Join(s.want, "\n"))
		}
		select {
		case <-b.done:
			over = true
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// note keeps the token that was printed last.
func (m *machines) note(out []byte) {
	if all := token.FindAll(out, -1); len(all) > 0 {
		m.token = string(all[len(all)-1])
	}
}

// logs returns what the background commands have printed.
func (m *machines) logs() string {
	var out strings.Builder
	for _, b := range m.running {
		fmt.Fprintf(&out, "--- %s$ %s &\n%s", b.step.machine, b.step.command, b.output())
	}
	return out.String()
}

// stop ends the background commands, the newest first.
func (m *machines) stop() {
	for i := len(m.running) - 1; i >= 0; i-- {
		b := m.running[i]
		_ = b.cmd.Process.Signal(os.Interrupt) // it may have ended
		select {
		case <-b.done:
		case <-time.After(patience):
			_ = b.cmd.Process.Kill()
			<-b.done
		}
	}
}
