package failpoint

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

func TestHit(t *testing.T) {
	t.Cleanup(Reset)
	if err := Hit("a"); err != nil {
		t.Fatal(err)
	}
	if err := Arm("a=error@2, b=error,c=off"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, false, false} {
		if got := Hit("a"); errors.Is(got, ErrInjected) != want {
			t.Errorf("hit %d of a: %v", i+1, got)
		}
	}
	for range 2 {
		if err := Hit("b"); !errors.Is(err, ErrInjected) {
			t.Errorf("b: %v", err)
		}
	}
	if err := Hit("c"); err != nil {
		t.Errorf("c: %v", err)
	}
	own := errors.New("own")
	Set("a", func() error { return own })
	if err := Hit("a"); err != own {
		t.Errorf("a: %v", err)
	}
	Set("a", nil)
	if err := Hit("a"); err != nil {
		t.Errorf("disarmed a: %v", err)
	}
}

func TestArmRefuses(t *testing.T) {
	t.Cleanup(Reset)
	for _, spec := range []string{"", "a", "=error", "a=boom", "a=error@", "a=error@0", "a=error@x", "ok=error,a=kill@-1"} {
		if err := Arm(spec); err == nil {
			t.Errorf("Arm(%q) gave no error", spec)
		}
	}
	if err := Hit("ok"); err != nil {
		t.Error("a refused specification armed a place")
	}
}

func TestKill(t *testing.T) {
	if os.Getenv("FAILPOINT_TEST_CHILD") != "" {
		defer os.Stdout.WriteString("deferred ran")
		for range 3 {
			_ = Hit("x")
			os.Stdout.WriteString(".")
		}
		return
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), "FAILPOINT_TEST_CHILD=1", Env+"=x=kill@2")
	out, err := cmd.CombinedOutput()
	if err == nil || string(out) != "." {
		t.Errorf("child: %v, output %q", err, out)
	}
	var ee *exec.ExitError
	if runtime.GOOS != "windows" && (!errors.As(err, &ee) || ee.ExitCode() != -1) {
		t.Errorf("child ended by %v, want a signal", err)
	}
}

func BenchmarkHitUnarmed(b *testing.B) {
	for b.Loop() {
		_ = Hit("nothing")
	}
}
