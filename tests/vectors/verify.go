// Command verify checks an exported audit log with code that is not ours: golang.org/x/mod/sumdb/{note,tlog},
// the packages that guard `go get`. It takes the export's directory and, optionally, a JSON file of proofs; with -proof
// it checks one C2SP tlog-proof instead.
//
// Guarantees, when it exits 0: the log's key (the one in -vkey, where it is given) signed the checkpoint; the entries
// hash to the signed root; every tile that the root demands holds the hashes of those entries; each proof given holds
// under tlog's own rules; and with -known the log continues that checkpoint, by a proof made from the tiles.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8
const tileWidth = 1 << tileHeight

// proofs is what the Python side made: audit paths and consistency paths, in base64.
type proofs struct {
	Inclusion []struct {
		Index, Size int64
		Root        string
		Path        []string
	}
	Consistency []struct {
		Old, New         int64
		OldRoot, NewRoot string
		Path             []string
	}
}

// exportReader reads tiles from the export's files; tlog asks it for partial tiles too.
type exportReader struct {
	dir   string
	reads int
}

func (r *exportReader) Height() int { return tileHeight }

func (r *exportReader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r *exportReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range tiles {
		// Go's paths name the tile height first; C2SP's leave it out.
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(r.dir, path))
		if err != nil {
			return nil, err
		}
		r.reads++
		out = append(out, data)
	}
	return out, nil
}

func main() {
	vkey := flag.String("vkey", "", "the log's key as it was published; by default the directory's own")
	known := flag.String("known", "", "a checkpoint that the log must continue")
	proof := flag.String("proof", "", "check this tlog-proof instead of a directory")
	entry := flag.String("entry", "", "with -proof: the entry's bytes")
	flag.Parse()
	if *proof != "" {
		fail(checkProofFile(*proof, *entry, *vkey))
		return
	}
	if flag.NArg() < 1 {
		fail(errors.New("usage: verify [-vkey KEY] [-known FILE] DIRECTORY [PROOFS.json]"))
	}
	dir := flag.Arg(0)
	key, err := directoryKey(dir, *vkey)
	fail(err)
	tree, err := readCheckpoint(filepath.Join(dir, "checkpoint"), key)
	fail(err)
	entries, err := readEntries(dir, tree.N)
	fail(err)
	fail(checkTree(dir, tree, entries))
	if *known != "" {
		fail(checkKnown(dir, tree, *known, key))
	}
	if flag.NArg() > 1 {
		fail(checkProofs(flag.Arg(1), entries))
	}
	fmt.Printf("OK size=%d root=%s\n", tree.N, tree.Hash)
}

func fail(err error) {
	if err != nil {
		fmt.Println("FAIL", err)
		os.Exit(1)
	}
}

// directoryKey returns the verifier key: the published one, which the directory's must equal, or the directory's.
func directoryKey(dir, published string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "vkey"))
	if err != nil {
		return "", err
	}
	key := strings.TrimSuffix(string(text), "\n")
	if published != "" && key != published {
		return "", errors.New("the directory's key is not the published one")
	}
	return key, nil
}

// readCheckpoint checks the signature of the note in a file and returns the head it states.
func readCheckpoint(file, key string) (tlog.Tree, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return tlog.Tree{}, err
	}
	return openCheckpoint(text, key)
}

// openCheckpoint checks a note's signature and returns the head it states.
func openCheckpoint(text []byte, key string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tlog.Tree{}, errors.New("the checkpoint is not origin, size and root")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// readEntries reads every entry bundle of a log of the given size.
func readEntries(dir string, size int64) ([][]byte, error) {
	var entries [][]byte
	for first := int64(0); first < size; first += tileWidth {
		width := size - first
		if width > tileWidth {
			width = tileWidth
		}
		tile := tlog.Tile{H: tileHeight, L: 0, N: first / tileWidth, W: int(width)}
		path := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
		bundle, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return nil, err
		}
		for i := int64(0); i < width; i++ {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return nil, fmt.Errorf("%s is cut short", path)
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			entries = append(entries, bundle[2:end])
			bundle = bundle[end:]
		}
		if len(bundle) != 0 {
			return nil, fmt.Errorf("%s has bytes after its last entry", path)
		}
	}
	return entries, nil
}

// hashes is a tree in memory, in tlog's order of stored hashes.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, index := range indexes {
		out = append(out, h[index])
	}
	return out, nil
}

func hashEntries(entries [][]byte) (hashes, error) {
	var stored hashes
	for i, entry := range entries {
		more, err := tlog.StoredHashes(int64(i), entry, stored)
		if err != nil {
			return nil, err
		}
		stored = append(stored, more...)
	}
	return stored, nil
}

// checkTree holds entries, signed root and tiles against each other.
func checkTree(dir string, tree tlog.Tree, entries [][]byte) error {
	stored, err := hashEntries(entries)
	if err != nil {
		return err
	}
	if tree.N == 0 {
		return nil
	}
	root, err := tlog.TreeHash(tree.N, stored)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return errors.New("the entries do not hash to the signed root")
	}
	// The tiles as tlog itself cuts them from the hashes must be the exported files.
	tiles := tlog.NewTiles(tileHeight, 0, tree.N)
	for i, tile := range tiles {
		// tlog lists a partial tile once for each width up to its own; an export holds the widest.
		if i+1 < len(tiles) && tiles[i+1].L == tile.L && tiles[i+1].N == tile.N {
			continue
		}
		want, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return err
		}
		got, err := (&exportReader{dir: dir}).ReadTiles([]tlog.Tile{tile})
		if err != nil {
			return err
		}
		if string(got[0]) != string(want) {
			return fmt.Errorf("%s differs", tile.Path())
		}
	}
	// And a client that has only the checkpoint and the tiles must be able to prove every entry.
	reader := tlog.TileHashReader(tree, &exportReader{dir: dir})
	for i := int64(0); i < tree.N; i += 1 + tree.N/16 {
		path, err := tlog.ProveRecord(tree.N, i, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(path, tree.N, tree.Hash, i, tlog.RecordHash(entries[i])); err != nil {
			return err
		}
	}
	return nil
}

// checkKnown proves from the tiles that the log begins with the one that a remembered checkpoint states.
func checkKnown(dir string, tree tlog.Tree, file, key string) error {
	old, err := readCheckpoint(file, key)
	if err != nil {
		return err
	}
	if old.N > tree.N {
		return fmt.Errorf("%d entries were known, here are %d", old.N, tree.N)
	}
	if old.N == 0 {
		return nil
	}
	path, err := tlog.ProveTree(tree.N, old.N, tlog.TileHashReader(tree, &exportReader{dir: dir}))
	if err != nil {
		return err
	}
	return tlog.CheckTree(path, tree.N, tree.Hash, old.N, old.Hash)
}

// checkProofFile checks a C2SP tlog-proof: header, index, path, an empty line, checkpoint.
func checkProofFile(file, entryFile, key string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(entryFile)
	if err != nil {
		return err
	}
	head, signed, found := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("this is no tlog-proof")
	}
	if strings.HasPrefix(lines[1], "extra ") {
		lines = lines[1:]
	}
	if len(lines) < 2 || !strings.HasPrefix(lines[1], "index ") {
		return errors.New("the proof names no index")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	path, err := parsePath(lines[2:])
	if err != nil {
		return err
	}
	tree, err := openCheckpoint([]byte(signed), key)
	if err != nil {
		return err
	}
	if index < 0 || index >= tree.N {
		return errors.New("there is no such entry")
	}
	if err := tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return err
	}
	fmt.Printf("OK index=%d size=%d\n", index, tree.N)
	return nil
}

// checkProofs runs tlog's checks over the proofs that the Python side made.
func checkProofs(file string, entries [][]byte) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var given proofs
	if err := json.Unmarshal(text, &given); err != nil {
		return err
	}
	for _, p := range given.Inclusion {
		path, err := parsePath(p.Path)
		if err != nil {
			return err
		}
		root, err := tlog.ParseHash(p.Root)
		if err != nil {
			return err
		}
		leaf := tlog.RecordHash(entries[p.Index])
		if err := tlog.CheckRecord(path, p.Size, root, p.Index, leaf); err != nil {
			return fmt.Errorf("inclusion of %d in %d: %w", p.Index, p.Size, err)
		}
	}
	for _, p := range given.Consistency {
		path, err := parsePath(p.Path)
		if err != nil {
			return err
		}
		oldRoot, err1 := tlog.ParseHash(p.OldRoot)
		newRoot, err2 := tlog.ParseHash(p.NewRoot)
		if err1 != nil || err2 != nil {
			return errors.New("a root is malformed")
		}
		if err := tlog.CheckTree(path, p.New, newRoot, p.Old, oldRoot); err != nil {
			return fmt.Errorf("consistency of %d with %d: %w", p.Old, p.New, err)
		}
	}
	fmt.Printf("proofs inclusion=%d consistency=%d\n", len(given.Inclusion), len(given.Consistency))
	return nil
}

func parsePath(path []string) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, text := range path {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(raw) != tlog.HashSize {
			return nil, errors.New("a path's hash is malformed")
		}
		var hash tlog.Hash
		copy(hash[:], raw)
		out = append(out, hash)
	}
	return out, nil
}
