# What the host may ask of the agent in a guest of Kata Containers: to run one container of one image, and little else.
# The agent asks for each request by its name; `keep` follows below, made for one deployment. It is part
# of the init-data, so that evidence of the guest says that it holds.

package agent_policy

import future.keywords.every
import future.keywords.if
import future.keywords.in

default AddARPNeighborsRequest := true
default CloseStdinRequest := true
default DestroySandboxRequest := true
default GetMetricsRequest := true
default GetOOMEventRequest := true
default GuestDetailsRequest := true
default ListInterfacesRequest := true
default ListRoutesRequest := true
default MemHotplugByProbeRequest := true
default OnlineCPUMemRequest := true
default PullImageRequest := true
default ReadStreamRequest := true
default RemoveContainerRequest := true
default RemoveStaleVirtiofsShareMountsRequest := true
default SignalProcessRequest := true
default StartContainerRequest := true
default StatsContainerRequest := true
default UpdateInterfaceRequest := true
default UpdateRoutesRequest := true
default WaitProcessRequest := true

default AddSwapRequest := false
default CopyFileRequest := false
default CreateContainerRequest := false
default CreateSandboxRequest := false
default ExecProcessRequest := false
default PauseContainerRequest := false
default ReseedRandomDevRequest := false
default ResumeContainerRequest := false
default SetGuestDateTimeRequest := false
default SetPolicyRequest := false
default StartTracingRequest := false
default StopTracingRequest := false
default TtyWinResizeRequest := false
default UpdateContainerRequest := false
default UpdateEphemeralMountsRequest := false
default WriteStreamRequest := false

CreateSandboxRequest if {
	input.guest_hook_path == ""
	input.sandbox_pidns == false
	count(input.kernel_modules) == 0
	every storage in input.storages {
		memory_of_the_guest(storage)
	}
}

# Files of the pod: its ConfigMap, and how names are resolved. None of them is a place that programs are run from. An
# agent says what is copied in one of two ways; one that does not say whether it is a link is told nothing.
CopyFileRequest if {
	shared(input.path)
	is_no_link
}

CopyFileRequest if {
	shared(input.path)
	leads_nowhere_else(link)
}

is_no_link if input.file_type in ["Regular", "Directory"]

is_no_link if {
	not input.file_type
	input.symlink_src == ""
}

link := input.symlink_target if input.file_type == "Symlink"

link := input.symlink_src if {
	not input.file_type
	input.symlink_src != ""
}

# A link is in a directory that was copied, and leads to another place in it: what is copied next could go through it.
leads_nowhere_else(target) if {
	regex.match("^/run/kata-containers/shared/containers/[^/]+/.", input.path)
	not startswith(target, "/")
	stays_below(target)
}

# The probes of the pod, as the image runs programs: a variable could name another one, or a library of the host's.
ExecProcessRequest if {
	input.process.Args == keep.probe
	input.process.Cwd == "/"
	is_null(input.string_user)
	variables_of_the_image_or_the_cluster(input.process.Env)
}

# What holds the pod's namespaces comes with the guest, which takes it from there by what it is told of the container.
CreateContainerRequest if {
	input.OCI.Process.Args == ["/pause"]
	runs("pause")
	some option in pulled.driver_options
	told := json.unmarshal(trim_prefix(option, "image_guest_pull="))
	told.metadata["io.kubernetes.cri.container-type"] == "sandbox"
}

# The program looks for modules where it stands, so that this is settled too.
CreateContainerRequest if {
	input.OCI.Process.Args == keep.args
	input.OCI.Process.Cwd == "/"
	runs(keep.image)
	variables_of_the_image_or_the_cluster(input.OCI.Process.Env)
}

# The guest itself pulls the image, by its digest, to the container's own place: it passes over a place that is taken.
runs(image) if {
	regex.match("^[0-9a-f]{64}$", input.container_id)
	pulled.source == image
	pulled.mount_point == root
	input.OCI.Root.Path == root
	every storage in input.storages {
		harmless(storage)
	}
	every mount in input.OCI.Mounts {
		expected(mount)
	}
	count(input.shared_mounts) == 0
	count(input.devices) == 0
	is_null(input.string_user)
	is_null(input.OCI.Hooks)
	not changes_the_guests_kernel
}

root := concat("/", ["/run/kata-containers", input.container_id, "rootfs"])

pulled := storage if {
	all := [one | some one in input.storages; one.driver == "image_guest_pull"]
	count(all) == 1
	storage := all[0]
}

changes_the_guests_kernel if {
	some name, _ in input.OCI.Linux.Sysctl
	not startswith(name, "net.")
}

harmless(storage) if {
	storage.driver == "image_guest_pull"
	count(storage.options) == 0
}

harmless(storage) if memory_of_the_guest(storage)

harmless(storage) if {
	storage.driver == "watchable-bind"
	shared(storage.source)
	startswith(storage.mount_point, "/run/kata-containers/shared/containers/watchable/")
	stays_below(storage.mount_point)
	not has_options_of_the_agents(storage)
}

memory_of_the_guest(storage) if {
	storage.driver == "ephemeral"
	storage.fstype == "tmpfs"
	startswith(storage.mount_point, "/run/kata-containers/sandbox/")
	stays_below(storage.mount_point)
	not has_options_of_the_agents(storage)
}

# Some options have the agent put a file system together out of the host's disks, whatever the driver is called.
has_options_of_the_agents(storage) if {
	some option in storage.options
	startswith(option, "X-kata.")
}

variables_of_the_image_or_the_cluster(variables) if {
	every variable in variables {
		of_the_image_or_the_cluster(variable)
	}
}

of_the_image_or_the_cluster(variable) if variable in keep.env

of_the_image_or_the_cluster(variable) if regex.match("^(HOSTNAME|KUBERNETES_[A-Z0-9_]+)=", variable)

# A file system of the kernel's own has no directory for its source.
expected(mount) if {
	mount.destination in keep.kernel
	mount.type_ in ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"]
	not startswith(mount.source, "/")
	not is_bound(mount)
}

is_bound(mount) if {
	some option in mount.options
	option in ["bind", "rbind"]
}

expected(mount) if {
	mount.destination == "/dev/shm"
	mount.type_ == "bind"
	mount.source == "/run/kata-containers/sandbox/shm"
}

# What the Keep writes to, and may run again, is memory of the guest.
expected(mount) if {
	mount.destination in keep.memory
	mount.type_ == "bind"
	startswith(mount.source, "/run/kata-containers/sandbox/ephemeral/")
	stays_below(mount.source)
}

# Its source is the guest's own, whatever the host has there.
expected(mount) if {
	mount.destination == keep.configfs
	mount.type_ == "bind"
	mount.source == keep.configfs
}

expected(mount) if {
	mount.destination in keep.files
	mount.type_ == "bind"
	shared(mount.source)
}

# What the host copied for a container, or has the agent copy again when it changes.
shared(path) if {
	regex.match("^/run/kata-containers/shared/containers/(watchable/)?[0-9a-f]{64}-[0-9a-z]+-.", path)
	stays_below(path)
}

stays_below(path) if not regex.match(`(^|/)\.\.(/|$)`, path)
