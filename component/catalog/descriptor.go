package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// options knows the extensions of descriptors that are read here. Others stay unknown fields, whatever else happens to be
// linked into this binary.
var options = func() *protoregistry.Types {
	t := new(protoregistry.Types)
	for _, x := range []protoreflect.ExtensionType{cloudstate.E_EntityKey, cloudstate.E_LegacyEntityKey, cloudstate.E_Eventing} {
		if err := t.RegisterExtension(x); err != nil {
			panic(err)
		}
	}
	return t
}()

// described is one file of the set and its canonical bytes.
type described struct {
	file  *descriptorpb.FileDescriptorProto
	bytes []byte
}

// resolve builds the descriptors of a serialized FileDescriptorSet in a registry of their own: the user function's files
// and those of this binary may bear the same names. It also returns the files in the order of their names, without what
// says nothing about messages. The registry is never nil.
func resolve(data []byte) (*protoregistry.Files, []described, error) {
	files := new(protoregistry.Files)
	var set descriptorpb.FileDescriptorSet
	if err := (proto.UnmarshalOptions{Resolver: options}).Unmarshal(data, &set); err != nil {
		return files, nil, fmt.Errorf("the descriptors are not a serialized google.protobuf.FileDescriptorSet: %w", err)
	}
	r := resolver{files: files, set: make(map[string]described), done: make(map[string]bool)}
	var problems []error
	for _, f := range set.GetFile() {
		f.SourceCodeInfo = nil
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(f)
		if err != nil {
			return files, nil, fmt.Errorf("read the descriptor file %s: %w", f.GetName(), err)
		}
		if o, ok := r.set[f.GetName()]; ok {
			if !bytes.Equal(o.bytes, b) {
				problems = append(problems, fmt.Errorf("the descriptor set has two different files with the name %s", f.GetName()))
			}
			continue
		}
		r.set[f.GetName()] = described{file: f, bytes: b}
		r.names = append(r.names, f.GetName())
	}
	slices.Sort(r.names)
	for _, name := range r.names {
		if err := r.resolve(name, nil); err != nil && !errors.Is(err, errKnown) {
			problems = append(problems, err)
		}
	}
	list := make([]described, 0, len(r.names))
	for _, name := range r.names {
		list = append(list, r.set[name])
	}
	return files, list, errors.Join(problems...)
}

// errKnown says that a file cannot be built because of another file, whose problem has been reported.
var errKnown = errors.New("a file that it imports cannot be built")

type resolver struct {
	files *protoregistry.Files
	set   map[string]described
	names []string
	// done says of a file that has been dealt with whether it could be built.
	done map[string]bool
}

// maxImports bounds how long a chain of imports may be, and so our stack.
const maxImports = 1000

// resolve builds a file after its imports. path is how it was come by.
func (r *resolver) resolve(name string, path []string) error {
	if ok, seen := r.done[name]; seen {
		if !ok {
			return errKnown
		}
		return nil
	}
	if i := slices.Index(path, name); i >= 0 {
		return fmt.Errorf("descriptor files import each other in a circle: %s", arrows(append(path[i:len(path):len(path)], name)))
	}
	path = append(slices.Clip(path), name)
	if len(path) > maxImports {
		return fmt.Errorf("descriptor files import each other more than %d deep", maxImports)
	}
	f, ok := r.set[name]
	if !ok {
		r.done[name] = false
		return fmt.Errorf("the descriptor file %s is missing (%s); build the descriptor set with all imports (protoc --include_imports)",
			name, arrows(path))
	}
	var problems []error
	blocked := false
	for _, dep := range f.file.GetDependency() {
		switch err := r.resolve(dep, path); {
		case errors.Is(err, errKnown):
			blocked = true
		case err != nil:
			problems = append(problems, err)
		}
	}
	r.done[name] = false
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	if blocked {
		return errKnown
	}
	if err := r.build(f.file); err != nil {
		return fmt.Errorf("the descriptor file %s cannot be used: %w", name, err)
	}
	r.done[name] = true
	return nil
}

func (r *resolver) build(f *descriptorpb.FileDescriptorProto) (err error) {
	// protodesc checks a descriptor as a compiler's output and panics on some that no compiler would write.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("malformed descriptor: %v", p)
		}
	}()
	fd, err := protodesc.FileOptions{}.New(f, r.files)
	if err != nil {
		return err
	}
	return r.files.RegisterFile(fd)
}

func arrows(path []string) string { return strings.Join(path, " → ") }
