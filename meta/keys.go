package meta

import (
	"encoding/binary"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// The first byte of each key of the store. Paths hold no NUL, so path, NUL,
// inverted revision sorts by path and then newest first.
const (
	keyApplied  = 'a' // -> applied index, 8 bytes
	keyCluster  = 'c' // -> rowCluster
	keyFolder   = 'f' // folder -> rowFolder
	keyState    = 'h' // folder -> rowState: its head
	keyVersion  = 'v' // folder path NUL ^revision -> version row
	keyRevision = 'r' // folder revision path -> nothing
	keyCommit   = 'C' // folder revision -> rowCommit
	keyTime     = 't' // folder level revision -> earliest and latest stamp of the block that ends there
	keyConflict = 'x' // folder number -> rowConflict
	keyOpen     = 'y' // folder path -> rowOpen: its open records
	keyTag      = 'T' // folder name -> rowTag
	keyNode     = 'n' // node -> rowNode
	keySession  = 's' // node -> rowSession
	keyLane     = 'l' // node lane -> rowLane
	keyOutcome  = 'o' // node lane sequence -> rowOutcome
	keyPart     = 'p' // node lane part -> part of a body under way
	keyInvite   = 'i' // hash -> rowInvite
)

func appendUint64(b []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(b, n) }

func folderKey(kind byte, f id.Folder) []byte {
	return appendFolderKey(make([]byte, 0, 64), kind, f)
}

func appendFolderKey(b []byte, kind byte, f id.Folder) []byte {
	return append(append(b, kind), f[:]...)
}

// versionPrefix is what the keys of all versions of exactly p start with.
func versionPrefix(f id.Folder, p id.Path) []byte {
	return appendVersionPrefix(make([]byte, 0, 1+len(f)+len(p)+1+8), f, p)
}

func appendVersionPrefix(b []byte, f id.Folder, p id.Path) []byte {
	return append(append(appendFolderKey(b, keyVersion, f), p...), 0)
}

// versionKey sorts the newer before the older.
func versionKey(f id.Folder, p id.Path, r id.Revision) []byte {
	return appendUint64(versionPrefix(f, p), ^uint64(r))
}

// versionBelow is what the keys of all versions strictly below dir start with.
func versionBelow(f id.Folder, dir id.Path) []byte {
	k := folderKey(keyVersion, f)
	if dir == "" {
		return k
	}
	return append(append(k, dir...), '/')
}

// parseVersionKey is the inverse of versionKey, for a key of this kind.
func parseVersionKey(k []byte) (id.Path, id.Revision, bool) {
	if len(k) < 17+1+9 || k[len(k)-9] != 0 {
		return "", 0, false
	}
	return id.Path(k[17 : len(k)-9]), id.Revision(^binary.BigEndian.Uint64(k[len(k)-8:])), true
}

func revisionPrefix(f id.Folder, r id.Revision) []byte {
	return appendUint64(folderKey(keyRevision, f), uint64(r))
}

func revisionKey(f id.Folder, r id.Revision, p id.Path) []byte {
	return append(revisionPrefix(f, r), p...)
}

func commitKey(f id.Folder, r id.Revision) []byte {
	return appendUint64(folderKey(keyCommit, f), uint64(r))
}

func timeKey(f id.Folder, level byte, r id.Revision) []byte {
	return appendUint64(append(folderKey(keyTime, f), level), uint64(r))
}

func conflictKey(f id.Folder, n uint64) []byte { return appendUint64(folderKey(keyConflict, f), n) }

func openKey(f id.Folder, p id.Path) []byte { return append(folderKey(keyOpen, f), p...) }

func tagKey(f id.Folder, name string) []byte { return append(folderKey(keyTag, f), name...) }

func nodeKey(kind byte, n id.Node) []byte {
	return append(append(make([]byte, 0, 64), kind), n[:]...)
}

func laneKey(kind byte, n id.Node, lane id.Folder) []byte {
	return append(nodeKey(kind, n), lane[:]...)
}

func outcomeKey(n id.Node, lane id.Folder, s id.Sequence) []byte {
	return appendUint64(laneKey(keyOutcome, n, lane), uint64(s))
}

func partKey(n id.Node, lane id.Folder, part int) []byte {
	return appendUint64(laneKey(keyPart, n, lane), uint64(part))
}

func inviteKey(h id.Digest) []byte { return append([]byte{keyInvite}, h[:]...) }
