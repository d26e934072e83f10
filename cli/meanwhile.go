package cli

import (
	"context"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// meanwhileAfter is how long a command may take before its progress is asked for.
const meanwhileAfter = 500 * time.Millisecond

// meanwhile does something that may take long, and tells meanwhile what the folder, or
// every folder where that is "", does. It returns when both have ended.
func (a *app) meanwhile(ctx context.Context, svc control.Service, label, folder string, do func(context.Context) error) error {
	look, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.tell(look, svc, a.progress(label), folder)
	}()
	err := do(ctx)
	stop()
	<-done
	return err
}

// tell shows the progress until ctx ends. What it cannot learn it does not show.
func (a *app) tell(ctx context.Context, svc control.Service, p *progress, folder string) {
	defer p.clear()
	began, total := a.Now(), int64(0)
	pause := meanwhileAfter
	for r := (control.StatusRequest{}); ; pause = watchGap {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		st, err := svc.Status(ctx, r)
		if err != nil {
			return
		}
		r.After = st.Change
		what, left := doing(st, folder)
		if what == "" {
			what = "at work for " + seconds(a.Now().Sub(began).Truncate(time.Second).Seconds())
		}
		if total = max(total, left); left == 0 {
			total = 0
		}
		p.show(total-left, total, what)
	}
}

// doing says what the folders do that are not in sync, and how many bytes they lack.
func doing(st control.Status, folder string) (what string, left int64) {
	var all []string
	for _, f := range st.Folders {
		if folder != "" && f.Name != folder || f.State == control.StateIdle {
			continue
		}
		left += f.PendingBytes
		all = append(all, f.Name+" is "+printable(f.Summary))
		if folder != "" {
			all[len(all)-1] = printable(f.Summary)
		}
	}
	return strings.Join(all, ", "), left
}
