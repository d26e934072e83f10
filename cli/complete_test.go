package cli

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func TestCompletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.OnFolders = func() ([]control.Folder, error) { return []control.Folder{{Name: "docs"}, {Name: "photos"}}, nil }
	w.fake.OnNodes = func() ([]control.ClusterMember, error) { return []control.ClusterMember{{Name: "desk"}}, nil }
	w.fake.OnConflicts = func(_ control.ConflictsRequest, emit func(control.Conflict) error) error {
		for range 2 * maxComplete {
			if err := emit(control.Conflict{ID: "docs#7", Path: "a\nb"}); err != nil {
				return err
			}
		}
		return nil
	}
	const noFiles, files, dirs, more = ":4", ":0", ":16", ":2"
	check := func(line string, want ...string) {
		t.Helper()
		args := strings.Split(line, " ")
		out := strings.Split(strings.TrimSpace(w.run(t, 0, append([]string{"__complete"}, args...)...)), "\n")
		if strings.Join(out, "|") != strings.Join(want, "|") {
			t.Errorf("%q: got %q, want %q", line, out, want)
		}
	}
	for line, want := range map[string][]string{
		"folder rm ":           {"docs", "photos", noFiles},
		"folder rm p":          {"photos", noFiles},
		"folder rm docs ":      {noFiles},
		"wait d":               {"docs", noFiles},
		"conflicts --folder d": {"docs", noFiles},
		"log ":                 {files},
		"log do":               {"docs", more},
		"log zz":               {files},
		"log ./d":              {files},
		"cat docs:a":           {files},
		"rollback ph":          {"photos", more},
		"up ":                  {dirs},
		"folder add ":          {dirs},
		"up --name ":           {"docs", "photos", noFiles},
		"init --name ":         {noFiles},
		"up --prefer ":         {"cluster", "mine", "both", noFiles},
		"invite --role ":       {"auto", "voter", "learner", noFiles},
		"join ":                {noFiles},
		"status --home ":       {dirs},
	} {
		check(line, want...)
	}
	w.fake.OnFolders = func() ([]control.Folder, error) {
		return []control.Folder{{Name: "docs", Path: "/w/d", HeadRevision: 12}, {Name: "photos", Path: "/p", HeadRevision: 1}, {Name: "away"}}, nil
	}
	w.fake.OnTags = func(r control.TagsRequest) ([]control.Tag, error) {
		all := []control.Tag{{Name: "v1", Folder: "docs", Revision: 3}, {Name: "w", Folder: "docs", Revision: 4}}
		if r.Folder == "photos" {
			return nil, nil
		}
		return all, nil
	}
	w.fake.OnFolderSet = func(r control.FolderSetRequest) (control.FolderSettings, error) {
		if r.Name != "docs" || len(r.Set) > 0 {
			return control.FolderSettings{}, errors.New("no such folder")
		}
		return control.FolderSettings{Settings: []control.FolderSetting{{Key: "conflicts", Values: "copy|history"}, {Key: "only", Values: "PATTERN,..."}}}, nil
	}
	const moreOnly = ":6"
	v1, w4 := "\trevision 3, of "+when(time.Time{}), "\trevision 4, of "+when(time.Time{})
	for line, want := range map[string][]string{
		"rollback docs@":              {"docs@v1" + v1, "docs@w" + w4, "docs@head\trevision 12", "docs@head~1\trevision 11", noFiles},
		"rollback docs@v":             {"docs@v1" + v1, noFiles},
		"cat docs:a/b@v":              {"docs:a/b@v1" + v1, noFiles},
		"cat d/x@y.txt@w":             {"d/x@y.txt@w" + w4, noFiles},
		"restore /p/a@":               {"/p/a@head\trevision 1", noFiles},
		"diff docs@v1 docs@w":         {"docs@w" + w4, noFiles},
		"show ":                       {"docs", "photos", "away", moreOnly},
		"show docs@head~":             {"docs@head~1\trevision 11", noFiles},
		"show none@":                  {noFiles},
		"cat /elsewhere@":             {noFiles},
		"tag ":                        {noFiles},
		"tag --delete ":               {"v1\tdocs revision 3", "w\tdocs revision 4", noFiles},
		"tag new d":                   {"docs", moreOnly},
		"tag new docs@v":              {"docs@v1" + v1, noFiles},
		"tags p":                      {"photos", noFiles},
		"folder set docs ":            {"conflicts=\tcopy|history", "only=\tPATTERN,...", moreOnly},
		"folder set docs only=a c":    {"conflicts=\tcopy|history", moreOnly},
		"folder set docs conflicts=":  {"conflicts=copy", "conflicts=history", noFiles},
		"folder set docs conflicts=h": {"conflicts=history", noFiles},
		"folder set docs only=":       {noFiles},
		"folder set none ":            {moreOnly},
		"node rm ":                    {"desk", noFiles},
		"node promote d":              {"desk", noFiles},
		"node demote x":               {noFiles},
		"node transfer-leadership ":   {"desk", noFiles},
	} {
		check(line, want...)
	}
	a := &app{Deps: w.Deps}
	if words, _ := a.complete("", a.nodeNames); len(words) != 1 || words[0] != "desk" {
		t.Errorf("nodes: %q", words)
	}
	if words, _ := a.complete("docs#", a.conflictIDs); len(words) != maxComplete || words[0] != "docs#7\ta\\nb" {
		t.Errorf("conflicts: %d words, the first %q", len(words), words[0])
	}
	// No answer, no words, and no complaint on the prompt.
	w.fake.OnFolders = func() ([]control.Folder, error) { return nil, errors.New("not running") }
	check("folder rm ", noFiles)
	check("log do", files)
	check("cat docs@", noFiles)
}

// The script for bash takes PATH@REV for one word.
func TestBashCompletionScript(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, args := range [][]string{{"completion", "bash"}, {"completion", "bash", "--no-descriptions"}} {
		s := w.run(t, 0, args...)
		if !strings.Contains(s, "_init_completion -n =:@ ||") || strings.Contains(s, "_init_completion -n =: ") || !strings.Contains(s, `special_char "$cur" @`) {
			t.Errorf("%q is not as it should be", args)
		}
	}
}
