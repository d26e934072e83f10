package local

import (
	"bytes"
	"encoding/binary"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// The first bytes of the keys. 'C' belongs to package chunks.
const (
	keyRow    = 'R'
	keyInode  = 'I'
	keyFile   = 'N'
	keyKept   = 'K'
	keyPlace  = 'P'
	keyBack   = 'B'
	keyQueue  = 'Q'
	keyFolder = 'F'
	keyMisc   = 'M'

	keySettings = 'S'
	keyHeld     = 'H'
)

func folderKey(kind byte, f id.Folder) []byte {
	k := make([]byte, 0, 64)
	k = append(k, kind)
	return append(k, f[:]...)
}

func rowKey(f id.Folder, p id.Path) []byte {
	k := folderKey(keyRow, f)
	k = append(k, p.Dir()...)
	k = append(k, 0)
	return append(k, p.Base()...)
}

// rowPath is the inverse of rowKey.
func rowPath(key []byte) id.Path {
	rest := key[17:]
	i := bytes.IndexByte(rest, 0)
	if i < 0 {
		return ""
	}
	return id.Path(rest[:i]).Join(string(rest[i+1:]))
}

func inodeKey(f id.Folder, ino uint64) []byte {
	return binary.BigEndian.AppendUint64(folderKey(keyInode, f), ino)
}

func fileKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyFile}, n) }

func keptKey(f id.Folder, p id.Path) []byte { return append(folderKey(keyKept, f), p...) }

func queueKey(lane id.Folder, s id.Sequence) []byte {
	return binary.BigEndian.AppendUint64(folderKey(keyQueue, lane), uint64(s))
}

func placeKey(f id.Folder, p id.Path) []byte { return append(folderKey(keyPlace, f), p...) }

func backKey(f id.Folder, p id.Path) []byte { return append(folderKey(keyBack, f), p...) }

// committedName is where log indexes known to be committed are kept: by itself the
// node's, with a folder's ID behind it that folder's.
const committedName = "committed"

func committedKey(f id.Folder) []byte { return miscKey(committedName + "/" + f.String()) }

func miscKey(name string) []byte { return append([]byte{keyMisc}, name...) }

func laneKey(lane id.Folder) []byte { return append([]byte{keyMisc}, "lane/"+lane.String()...) }
