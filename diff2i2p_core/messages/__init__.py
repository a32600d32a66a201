"""ROS 2 messages and bags without ROS: images, clouds, cameras, transforms. The node and replay use it."""
